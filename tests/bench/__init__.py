"""Measurements. They are printed, never asserted: a slow machine is no defect."""
