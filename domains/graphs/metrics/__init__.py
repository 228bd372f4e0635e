"""Metrics of graphs and molecules, each meant to stand beside its floor: the same metric of train on test."""
