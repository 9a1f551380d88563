"""The order of batches, the training loop and the evaluation."""
