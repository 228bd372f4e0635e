"""Music: songs from lyrics and a style by latent diffusion, edited and controlled after training."""
