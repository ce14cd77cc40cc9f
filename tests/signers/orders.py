"""Reads a JSON list of orders from standard input and writes the list of what `sign` makes of each."""

import json
import sys


def answer(sign):
    json.dump([sign(order) for order in json.load(sys.stdin)], sys.stdout)
