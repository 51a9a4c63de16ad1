"""Forecasting: what comes next in a recording."""

from mamp.forecast.forecaster import Forecaster

__all__ = ["Forecaster"]
