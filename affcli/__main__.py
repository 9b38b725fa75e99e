"""`python -m affcli` (and `torchrun -m affcli`) is the same as `affcli`."""

from __future__ import annotations

from affcli.cli import main

if __name__ == "__main__":
    main()
