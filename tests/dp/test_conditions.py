"""The nine conditions under which a private scorer makes picks and models private for free."""

import pytest

from curation_audit.checks import InputError, SettingError
from curation_audit.dp.conditions import (
    FITTED_ON,
    REFUSED_SETTINGS,
    STEPS,
    assumptions,
    check_fitted_on,
    check_settings,
)

# a step that breaks each condition, as reference page dp.md (section 2) numbers them
BREAKING = {
    1: "pool",
    2: "encoder",
    3: "scaler",
    4: "early_stopping",
    5: "k",
    6: "deduplication",
    7: "normalisation",
    8: "tuning",
    9: "other_outputs",
}


def test_all_nine_conditions_are_there():
    assert {step.condition for step in STEPS.values()} == set(range(1, 10)) == set(BREAKING)
    assert all(STEPS[name].condition == number for number, name in BREAKING.items())


@pytest.mark.parametrize("name", STEPS)
def test_a_step_fitted_on_private_rows_is_refused_with_its_reason(name):
    with pytest.raises(SettingError) as refused:
        check_fitted_on({name: "private"})
    message, step = str(refused.value), STEPS[name]
    assert refused.value.where == f"curate.protect.fitted_on.{name}"
    assert f"condition {step.condition} of" in message
    assert step.why in message
    assert step.instead in message
    assert "\n" not in message


@pytest.mark.parametrize("name", STEPS)
def test_it_is_refused_beside_steps_that_are_in_order(name):
    in_order = dict.fromkeys(STEPS, "public")
    check_fitted_on(in_order)
    with pytest.raises(SettingError, match=f"fitted_on.{name}: was fitted on private rows"):
        check_fitted_on({**in_order, name: "private"})


@pytest.mark.parametrize("on", [on for on in FITTED_ON if on != "private"])
def test_what_is_public_or_not_fitted_passes(on):
    check_fitted_on(dict.fromkeys(STEPS, on))
    check_fitted_on({})


@pytest.mark.parametrize(
    ("stated", "hint"),
    [
        ({"scalar": "public"}, "did you mean 'scaler'"),
        ({"scaler": "privat"}, "did you mean 'private'"),
        ({"scaler": "somebody"}, "expected one of nothing, private, public"),
        ({"scaler": True}, "expected one of nothing, private, public"),
    ],
)
def test_words_that_nobody_knows_are_refused(stated, hint):
    with pytest.raises(SettingError, match=hint):
        check_fitted_on(stated)


def test_who_vouches_for_each_step():
    stated = {"encoder": "public", "tuning": "nothing", "scaler": "public"}
    told = assumptions(stated)
    assert list(told) == list(STEPS)
    assert told["encoder"] == "stated: public"
    assert told["tuning"] == "stated: nothing"
    assert told["pool"] == "assumed, not stated"
    assert told["scaler"].startswith("by this tool: ")  # what is done here nobody else vouches for
    assert all(told[name].startswith("by this tool") == bool(s.here) for name, s in STEPS.items())
    assert not any("by this tool" in told[n] for n in ("pool", "encoder", "tuning", "vocabulary"))


@pytest.mark.parametrize("name", REFUSED_SETTINGS)
def test_settings_that_void_the_guarantee_are_refused(name):
    with pytest.raises(InputError) as refused:
        check_settings("curate.protect", {"epsilon": 1, name: True})
    message = str(refused.value)
    assert message.startswith(f"curate.protect.{name}: ")
    assert "voids the guarantee" in message
    assert REFUSED_SETTINGS[name] in message
    assert "leave it out" in message


def test_refused_settings_cover_the_steps_that_a_file_could_ask_for():
    reasons = set(REFUSED_SETTINGS.values())
    asked = ("pool", "scaler", "class_weights", "label_list", "calibration", "early_stopping")
    for name in (*asked, "deduplication"):
        assert STEPS[name].why in reasons


def test_other_settings_pass():
    check_settings("curate.protect", {"epsilon": 1, "clip": 2, "steps": 3})
