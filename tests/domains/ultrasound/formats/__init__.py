"""Readers and writers of ultrasound files."""
