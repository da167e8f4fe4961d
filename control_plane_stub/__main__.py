"""Lets ``python -m control_plane_stub`` do what ``control-plane-stub`` does; nothing else."""

import sys

from control_plane_stub.cli import main

if __name__ == "__main__":
    sys.exit(main())
