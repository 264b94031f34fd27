"""What `d2lite benchmark` measures, and how: sides in turns, phases, memory, operators."""
