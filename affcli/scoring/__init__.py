"""Predictions against labels: counts, figures, intervals, calibration."""
