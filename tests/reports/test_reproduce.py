import shlex

import yaml

from retarget.core.config import FitConfig
from retarget.reports import reproduce


def _words(config: FitConfig) -> list[str]:
    return shlex.split(reproduce.command(config).replace("\\\n", " "))


def test_command_says_only_what_differs_from_the_defaults() -> None:
    assert _words(FitConfig(data="photos/")) == ["retarget", "fit", "photos/"]


def test_reading_keeps_how_data_are_read_and_nothing_else() -> None:
    config = FitConfig(
        data="my photos/",
        kind="regression",
        columns={"label": "age"},
        domains=True,
        seed=7,
    )
    assert shlex.join(reproduce.reading(config)) == (
        "retarget fit 'my photos/' --kind regression --column label=age --domains"
    )


def test_command_repeats_lists_and_pairs_and_negates_switches() -> None:
    config = FitConfig(
        data="my photos/",
        sources=("timm:a", "hf:b/c"),
        columns={"label": "the diagnosis"},
        domains=True,
        learning_curve=False,
        split_from="runs/1",
        seed=7,
    )
    words = _words(config)
    assert words[:3] == ["retarget", "fit", "my photos/"]
    text = " ".join(words)
    for expected in (
        "--source timm:a --source hf:b/c",
        "--column label=the diagnosis",
        "--domains",
        "--no-learning-curve",
        "--split-from runs/1",
        "--seed 7",
    ):
        assert expected in text


def test_command_can_be_pasted_without_running_anything_else() -> None:
    config = FitConfig(data="$(touch x); `id` 'q' & \"|", out="a\nb\x1b[31m")
    words = _words(config)
    assert words[2] == config.data
    assert "\x1b" not in reproduce.command(config)


def test_yaml_gives_the_same_configuration_back() -> None:
    for data in ("photos/", "fotos año/日本", "a\u202eb\x1b[31m: {{x}} <b>"):
        config = FitConfig(data=data, sources=("timm:a",), columns={"label": data})
        text = reproduce.as_yaml(config)
        assert FitConfig(**yaml.safe_load(text)) == config
        assert "\u202e" not in text
        assert "\x1b" not in text
    assert "日本" in reproduce.as_yaml(FitConfig(data="日本"))


def test_trainings_are_asked_for_in_the_same_words() -> None:
    config = FitConfig(data="a", methods=("probe", "finetune"), from_layer="blocks.5", lr="auto",
                       time="5m", robustness=False, baselines=())  # fmt: skip
    text = " ".join(_words(config))
    for expected in (
        "--method probe --method finetune",
        "--from blocks.5",
        "--lr auto",
        "--time 300.0",
        "--no-robustness",
        "--baseline none",
    ):
        assert expected in text
    assert FitConfig(data="a", time="300.0") == FitConfig(data="a", time="5m")


def test_methods_with_settings_are_asked_for_by_the_configuration() -> None:
    method = {"name": "finetune", "epochs": 5}
    config = FitConfig(data="a", methods=(method,), seed=3, out="my run")
    assert _words(config) == ["retarget", "fit", "a", "--config", "my run/config.yaml"]
    assert FitConfig(**yaml.safe_load(reproduce.as_yaml(config))) == config
