"""tools/run_readme.py: what it takes for a block, what it runs, and that a wrong README does not pass."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest
import run_readme


@pytest.fixture
def readme(tmp_path):
    """Return a function that runs a README of the given text and returns the exit status."""
    path = tmp_path / "README.md"

    def run(text: str) -> int:
        path.write_text(dedent(text), encoding="utf-8")
        return run_readme.main([str(path)])

    return run


def test_blocks_keep_language_text_and_place():
    found = run_readme.blocks("a\n```python\nx = 1\n\ny = 2\n```\nb ```c``` d\n```e```\n~~~~ text\n```\n~~~~\n")
    assert found == [
        run_readme.Block("python", "x = 1\n\ny = 2\n", line=3, end=6),
        run_readme.Block("text", "```\n", line=10, end=11),
    ]


def test_a_block_inside_a_list_loses_its_indentation():
    (block,) = run_readme.blocks("1. Do\n   ```python\n   if x:\n       y\n   ```\n")
    assert block.text == "if x:\n    y\n"


def test_only_a_text_block_right_after_is_the_output():
    python, text = "```python\npass\n```\n", "```text\nout\n```\n"
    between = ["", "\n\n", "prose\n", "```sh\nls\n```\n", python]
    assert [run_readme.examples(python + gap + text)[0].expected for gap in between] == [
        "out\n",
        "out\n",
        None,
        None,
        None,
    ]
    assert run_readme.examples(python + python + text)[1].expected == "out\n"


def test_blocks_share_a_namespace_and_the_right_output_passes(readme, capsys):
    status = readme("""
        ```python
        x = 41
        print("not compared")
        ```
        ```sh
        exit 1
        ```
        ```python
        print("the answer", x + 1)
        print("took 0.317 s")
        ```
        ```text
        the   answer 42
        took ... s
        ```
    """)
    assert status == 0
    out = capsys.readouterr().out
    assert "README.md, line 3: block 1 of 2 passed in" in out
    assert "README.md, line 10: block 2 of 2 passed in" in out


@pytest.mark.parametrize("printed", ["print('the answer 43')", "pass", "print('the answer 42\\nand more')"])
def test_the_wrong_output_fails_and_is_shown(readme, capsys, printed):
    later = "```python\nraise RuntimeError('ran on after a failure')\n```\n"
    assert readme(f"```python\n{printed}\n```\n```text\nthe answer 42\n```\n{later}") == 1
    out = capsys.readouterr().out
    assert "README.md, line 2: block 1 of 2 FAILED in" in out
    assert "--- where the file has\nthe answer 42\n" in out


def test_an_exception_names_the_line_of_the_file_and_shows_what_was_printed(readme, capsys):
    with pytest.raises(ZeroDivisionError) as error:
        readme("# Title\n\n```python\nprint('before')\n1 / 0\n```\n")
    last = error.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("README.md", 5)
    out = capsys.readouterr().out
    assert "block 1 of 1 FAILED in" in out
    assert "--- it printed\nbefore\n" in out


def test_a_syntax_error_names_the_line_of_the_file(readme):
    with pytest.raises(SyntaxError) as error:
        readme("# Title\n\n```python\nx = 1\nx = =\n```\n")
    assert error.value.lineno == 5


def test_classes_can_be_pickled_and_files_stay_out_of_the_tree(readme, tmp_path):
    main, before = sys.modules["__main__"], Path.cwd()
    assert (
        readme("""
        ```python
        import dataclasses, pathlib, pickle

        @dataclasses.dataclass
        class Point:
            x: int

        assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
        pathlib.Path("written.txt").write_text("here")
        ```
    """)
        == 0
    )
    assert sys.modules["__main__"] is main
    assert Path.cwd() == before
    assert not (before / "written.txt").exists()
    assert not (tmp_path / "written.txt").exists()


@pytest.mark.parametrize("language", ["py", "Python", "python3", "pycon"])
def test_a_block_that_would_not_run_is_refused(readme, language):
    with pytest.raises(ValueError, match=f"line 2: a '{language}' block would not be run; call it 'python'"):
        readme(f"```{language}\nx = 1\n```\n```python\nx = 1\n```\n")


def test_a_readme_without_a_block_is_refused(readme):
    with pytest.raises(ValueError, match="no python block found"):
        readme("nothing here\n```text\nx\n```\n")


def test_a_block_that_is_never_closed_is_refused(readme):
    with pytest.raises(ValueError, match="'```python' is never closed"):
        readme("```python\nx = 1\n")
