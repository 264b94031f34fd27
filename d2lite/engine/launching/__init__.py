"""How processes are started, joined and stopped, and how their failures are reported."""
