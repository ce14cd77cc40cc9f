"""Judges a Compose file by the JSON Schema of the Compose specification: judge.py SCHEMA FILE...

The first file is the Compose file; what stands in all of them, in their order, is printed as JSON beside the faults:
{"files": [...], "faults": ["place: what is wrong"]}
"""

import json
import sys

import jsonschema
import yaml


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    files = []
    for name in sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            files.append(yaml.safe_load(file))
    validator = jsonschema.validators.validator_for(schema)(schema)
    faults = [f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in validator.iter_errors(files[0])]
    json.dump({"files": files, "faults": faults}, sys.stdout)


if __name__ == "__main__":
    main()
