"""The version of this project: of the package, and of what it writes for others."""

__version__ = "0.1.0"
