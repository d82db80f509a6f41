"""What the files beside a text model say: its tokenizer, and how its makers read texts with it."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from retarget.core.errors import SourceError
from retarget.core.text import printable
from retarget.sources.tokenizing import MAX_TOKENIZER
from retarget.sources.weights import read_json

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_VOCABULARIES = (
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model", "bpe.codes",
)  # fmt: skip
_BESIDE = (TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json", "config.json")
MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
SENTENCE = "sentence_bert_config.json"
DENSE = "model.safetensors"  # of a module's folder
_MOST_PROMPT = 1_000
MAX_LENGTH = 1_000_000  # what claims more claims to be without bound
# Modules that come before the pooling or change nothing when texts are only read.
_HARMLESS = ("Transformer", "Dropout")
_TORCH = re.compile(r"^torch\.nn\.(modules\.\w+\.)?(?=\w+$)")
_LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class Files(Protocol):
    """The files of a model, wherever they lie."""

    uri: str

    def path(self, name: str) -> Path:
        """Return a file of the model. Raises `SourceError`."""

    def has(self, name: str) -> bool:
        """Return whether the model has such a file."""


def reads_texts(files: Files) -> bool:
    """Return whether there is anything to make a tokenizer of."""
    return any(files.has(name) for name in (TOKENIZER, TOKENIZER_CONFIG, *_VOCABULARIES))


def text_arguments(files: Files, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a text model's blueprint. Raises `SourceError`."""
    return {
        "config": dict(config),
        "tokenizer": tokenizer_text(files),
        "pooler": False,
        "reading": _reading(files),
    }


def tokenizer_text(files: Files) -> str:
    """Return the JSON of the model's fast tokenizer, converted by transformers where there are
    only older files. Raises `SourceError`."""
    if not files.has(TOKENIZER):
        return _converted(files)
    path = files.path(TOKENIZER)
    try:
        if path.stat().st_size > MAX_TOKENIZER:
            raise SourceError(f"{printable(str(path))} is too large to be a tokenizer.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"{printable(str(path))} can't be read ({error.strerror}).") from error
    except ValueError as error:
        raise SourceError(f"{printable(str(path))} is not text in UTF-8.") from error


def _converted(files: Files) -> str:
    """Return the fast tokenizer that transformers makes of the older files, copied to a folder of
    their own so that nothing else beside them is opened."""
    import transformers

    auto: Any = transformers.AutoTokenizer
    with tempfile.TemporaryDirectory(prefix="retarget-") as folder:
        for name in (*_VOCABULARIES, *_BESIDE):
            if files.has(name):
                path = files.path(name)
                if path.stat().st_size > MAX_TOKENIZER:
                    raise SourceError(f"{printable(str(path))} is too large for a tokenizer.")
                shutil.copyfile(path, Path(folder) / name)
        try:
            made = auto.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            return str(made.backend_tokenizer.to_str())
        except Exception as error:  # its converters raise whatever their libraries do
            reason = printable(str(error).strip().partition("\n")[0])
            raise SourceError(
                f"{files.uri} has no {TOKENIZER}, and its older files can't be converted "
                f"({reason}). Where the model came from, load it with transformers' AutoTokenizer "
                f"and save it with `save_pretrained(FOLDER)`; copy {TOKENIZER} here."
            ) from error


def _reading(files: Files) -> dict[str, Any]:
    """Return how sentence-transformers' files say that texts are read: `hf_text.Reading`."""
    told = read_json(files.path(SENTENCE)) if files.has(SENTENCE) else {}
    length = told.get("max_seq_length")
    if length is None and files.has(TOKENIZER_CONFIG):
        length = read_json(files.path(TOKENIZER_CONFIG)).get("model_max_length")
    known = type(length) is int and 1 <= length <= MAX_LENGTH
    pooling, dense, normalize = _modules(files)
    prompt = _prompt(files)
    return {
        **({"prompt": prompt} if prompt else {}),
        **({"dense": [_dense(files, path) for path in dense]} if dense else {}),
        "length": length if known else None,
        "pooling": pooling,
        "normalize": normalize,
        "lowercase": told.get("do_lower_case") is True,
    }


def _prompt(files: Files) -> str:
    """Return what the makers put before every text that they say nothing else of."""
    told = read_json(files.path(PROMPTS)) if files.has(PROMPTS) else {}
    name, prompts = told.get("default_prompt_name"), told.get("prompts")
    if name is None:
        return ""
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if not isinstance(prompt, str) or len(prompt) > _MOST_PROMPT:
        raise SourceError(
            f"{files.uri} names a prompt {printable(str(name), 40)} in {PROMPTS} that is not there "
            f"as a text of at most {_MOST_PROMPT:,} characters. Remove the name, or add the prompt."
        )
    return prompt


def _modules(files: Files) -> tuple[list[str], list[str], bool]:
    """Return the ways of pooling, the folders of the dense layers behind it, and whether vectors
    get length 1 at the end. Raises `SourceError` for other modules, and another order."""
    pooling: list[str] = []
    dense: list[str] = []
    normalize = False
    known = [m for m in read_list(files) if _kind(m) not in _HARMLESS]
    for place, module in enumerate(known):
        kind, path = _kind(module), str(module.get("path", ""))
        if kind == "Pooling" and not place:
            told = read_json(files.path(f"{path}/config.json"))
            pooling = _pooling(told)
            if told.get("include_prompt") is False and _prompt(files):
                raise SourceError(
                    f"{files.uri} puts a prompt before every text and leaves its pieces out of the "
                    f"pooling, which can't be done here. Without {PROMPTS} it is read without."
                )
        elif kind == "Dense" and place and not normalize:
            dense.append(path)
        elif kind == "Normalize" and place:
            normalize = True
        else:
            raise SourceError(
                f"{files.uri} is read by a module {printable(kind or '?')} where it stands in "
                f"{MODULES}, which can't be done here: known are Transformer, Pooling, Dense and "
                f"Normalize, in this order. Without {MODULES} it is read as a plain model."
            )
    return pooling, dense, normalize


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _dense(files: Files, path: str) -> dict[str, Any]:
    """Return what a module's folder says of its dense layer: `dense.DenseShape`."""
    told = read_json(files.path(f"{path}/config.json"))
    vector = ("sentence_embedding", None)
    inside = [told.get(f"module_{end}_name") for end in ("input", "output")]
    activation = told.get("activation_function", "torch.nn.Tanh")
    if any(name not in vector for name in inside) or not isinstance(activation, str):
        raise SourceError(f"The dense layer {printable(path)} of {files.uri} reads no vectors.")
    return {
        "inputs": told.get("in_features"),
        "outputs": told.get("out_features"),
        "bias": told.get("bias", True),
        "activation": _TORCH.sub("", activation),
        "residual": told.get("use_residual", False),
    }


def dense_files(files: Files) -> list[Path]:
    """Return the files of weights of the dense layers behind the pooling, in order. Raises
    `SourceError`."""
    _, dense, _ = _modules(files)
    for path in dense:
        if not files.has(f"{path}/{DENSE}"):
            raise SourceError(
                f"{files.uri} has no {printable(path)}/{DENSE}. Only safetensors are read; save "
                "it again with sentence-transformers' `save_pretrained(FOLDER)`."
            )
    return [files.path(f"{path}/{DENSE}") for path in dense]


def read_list(files: Files) -> list[dict[str, Any]]:
    """Return the modules that `modules.json` lists, in order; none where there is no such file."""
    import json

    if not files.has(MODULES):
        return []
    path = files.path(MODULES)
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{printable(str(path))} is not JSON.") from error
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise SourceError(f"{printable(str(path))} is no list of modules.")
    return modules


def _pooling(config: Mapping[str, Any]) -> list[str]:
    modes = config.get("pooling_mode")
    if isinstance(modes, str):
        return [modes]
    if isinstance(modes, list):
        return [str(mode) for mode in modes]
    return [mode for name, mode in _LEGACY.items() if config.get(name) is True]
