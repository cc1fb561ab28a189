from rlvr_world_hf.runs.echo import echo


def test_lines_end_with_one_newline(capsys):
    echo("table\n\n")
    assert capsys.readouterr().out == "table\n"
