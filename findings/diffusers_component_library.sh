#!/usr/bin/env bash
# diffusers 0.42.1: a component that model_index.json names as [library, class] loads only if the *library module itself*
# also shows a diffusers base class by name, such as ModelMixin. A facade that exports the class alone (a package whose
# __init__ hides its modules, the usual way to keep file paths out of checkpoints) is refused although the class is found
# and is a ModelMixin: "does not seem to have any of the loading methods defined in". Documentation names no such rule.
# Nor is a module imported because the index names it: it must have been imported before ("has not been imported").
# Seen: 'not imported: ValueError', 'class alone: ValueError', 'with ModelMixin: loaded Net'. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diffusers==0.42.1 torch==2.13.0 transformers==5.23.0 accelerate==1.15.0
cd "$folder"
mkdir facade_plain facade_base
cat > network.py <<'P'
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config


class Net(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, width: int = 4):
        super().__init__()
        self.layer = torch.nn.Linear(width, width)
P
echo "from network import Net" > facade_plain/__init__.py
printf 'from diffusers import ModelMixin\nfrom network import Net\n' > facade_base/__init__.py
cat > check.py <<'P'
import importlib
import json
from pathlib import Path

from diffusers import DiffusionPipeline
from network import Net


class Pipe(DiffusionPipeline):
    def __init__(self, net):
        super().__init__()
        self.register_modules(net=net)


def load(library):
    Pipe(Net()).save_pretrained("saved")
    index = Path("saved/model_index.json")
    values = json.loads(index.read_text())
    values["net"] = [library, "Net"]
    index.write_text(json.dumps(values))
    try:
        return "loaded " + type(Pipe.from_pretrained("saved").net).__name__
    except ValueError as error:
        return "ValueError: " + next(why for why in ("has not been imported", "loading methods") if why in str(error))


seen = [load("facade_base")]
for name in ("facade_plain", "facade_base"):
    importlib.import_module(name)
    seen.append(load(name))
for case, outcome in zip(("not imported", "class alone", "with ModelMixin"), seen):
    print(f"{case}: {outcome}")
assert seen == ["ValueError: has not been imported", "ValueError: loading methods", "loaded Net"], seen
P
"$folder/venv/bin/python" check.py
echo "as stated"
