"""Translation of instructions: back ends, batches, retries, cost, checks."""
