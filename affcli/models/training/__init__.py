"""What all trainings share: epochs, saved state, losses, optimizers."""
