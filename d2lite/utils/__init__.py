"""Tools that do not depend on detection."""
