"""Tools that know nothing of detection; the ground floor of the house."""
