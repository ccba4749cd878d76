"""``python -m resanalysis``, which launchers such as ``torchrun -m`` call."""

from resanalysis.cli import main

if __name__ == "__main__":
    main()
