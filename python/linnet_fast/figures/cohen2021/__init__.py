"""The edge of stability, after Cohen, Kaur, Li, Kolter and Talwalkar (2021)."""
