"""Sources, recipes, token files, seqio tasks, batches."""
