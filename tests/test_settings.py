"""Settings: what an instructor may write, and one clear sentence for what they may not."""

import pytest

from handgrad.errors import UserError
from handgrad.settings import Settings

BAD = {
    "not TOML": ("language = ", "not valid TOML"),
    "an unknown name": ("langauge = 'en'", "unknown setting `langauge`"),
    "an unknown language": ("language = 'de'", "Invalid enum value 'de' - at `$.language`"),
    "an unknown level": ("feedback = 'all'", "Invalid enum value 'all' - at `$.feedback`"),
    "a share above one": (
        "right_step_share = 1.5",
        "Expected `float` <= 1.0 - at `$.right_step_share`",
    ),
    "a negative limit": ("[limits]\ncell_seconds = -1", "negative"),
    "a limit in words": ("[limits]\ncell_seconds = 'ten'", "Expected `float`, got `str`"),
    "a truth value for a number": ("right_step_share = true", "Expected `float`, got `bool`"),
    "an unknown limit": ("[limits]\nseconds = 3", "unknown setting `seconds`"),
    "limits that are no table": ("limits = 3", "Expected `object`, got `int` - at `$.limits`"),
}


@pytest.mark.parametrize(("text", "fact"), BAD.values(), ids=BAD.keys())
def test_a_bad_setting_gets_one_sentence_that_names_file_fact_and_cure(tmp_path, text, fact):
    path = tmp_path / "assignment.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        Settings.read(path)
    assert fact in caught.value.fact
    assert caught.value.where == str(path)
    assert caught.value.cure


def test_no_file_means_the_defaults(tmp_path):
    assert Settings.read(tmp_path / "assignment.toml") == Settings()


def test_limits_and_shares_are_read(tmp_path):
    path = tmp_path / "assignment.toml"
    path.write_text("unspread_share = 0\nlanguage = 'zh'\n[limits]\ncell_seconds = 3\n", "utf-8")
    settings = Settings.read(path)
    assert settings.unspread_share == 0
    assert settings.language == "zh"
    assert settings.limits.cell_seconds == 3
