"""`lc demo`: a real network with three real jobs, told on the screen, checked at the end."""
