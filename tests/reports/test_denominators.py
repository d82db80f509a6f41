from retarget.reports.denominators import long_name, short_name


def test_denominators_have_names_for_people() -> None:
    assert long_name("pixels", "accuracy") == "pixels and edges alone"
    assert short_name("random:timm:resnet50") == "random weights"
    assert long_name("majority", "rmse") != long_name("majority", "accuracy")


def test_unknown_names_stay_as_they_are() -> None:
    assert long_name("<b>", "accuracy") == short_name("<b>") == "<b>"
    assert long_name("majority", "a metric of a later version") == "majority"


def test_trained_denominators_have_short_names() -> None:
    assert short_name("scratch") == "trained from scratch"
    assert short_name("small-cnn") == "a small CNN"
