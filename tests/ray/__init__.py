"""Tests of `ideogram_async.ray`."""
