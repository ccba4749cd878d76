#!/bin/sh
# tests/versions.sh ENVIRONMENT: the main commands and a part of the suite in an environment of other versions.
set -eu
environment=$1
python="$environment/bin/python"
model=bundled:resnet20-fashion-mnist
data="--data bundled:fashion-mnist-test --limit 20"
"$python" --version
"$python" -m pip list --format freeze |
  grep -iE "^(torch|torchvision|numpy|scipy|pandas|matplotlib|seaborn|typer|rich|networkx|statsmodels|safetensors)=="
for command in "inspect" "lesion $data" "lesion --remove 1,2 --draws 3 $data" "reorder --draws 4 $data" \
  "gradients $data" "response $data" "stream $data"; do
  echo "== $command"
  # shellcheck disable=SC2086
  set -- $command
  name=$1
  shift
  "$python" -m resanalysis "$name" $model "$@" --quiet --out "$environment/out"
done
"$python" -m resanalysis check "$environment/out"
"$python" -m pytest -q tests/view tests/routes tests/path_gradients tests/checkpoint -m "not slow and not nightly"
