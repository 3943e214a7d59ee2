"""Calls of everything public with arguments that are wrong, or right in an unusual form."""
