"""After training: text sets, fine-tuning with checkpoints, and circuits along a series of them."""
