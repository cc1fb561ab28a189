from rlvr_world_hf.commands.say import say


def test_lines_end_with_one_newline(capsys):
    say("table\n\n")
    assert capsys.readouterr().out == "table\n"
