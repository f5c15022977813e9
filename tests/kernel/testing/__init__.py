"""Tests of bandmaster.kernel.testing."""
