"""Measurements that are no part of the package: run by hand, on a quiet machine."""
