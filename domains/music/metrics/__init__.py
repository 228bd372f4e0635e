"""Metrics of songs, each with n, seed and a 95 % interval, and the anchor rows that say what it is worth."""
