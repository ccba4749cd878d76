"""Forward: which part of each unit runs and in what order, and many such routes over one data set."""
