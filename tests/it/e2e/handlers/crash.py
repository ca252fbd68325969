"""A worker that never comes up: it says why and exits before its first take."""

import sys

print("cannot find the model in the image", file=sys.stderr, flush=True)
sys.exit(9)
