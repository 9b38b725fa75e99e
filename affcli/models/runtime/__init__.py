"""Where and how torch computes: devices, transfers, processes, half precision."""
