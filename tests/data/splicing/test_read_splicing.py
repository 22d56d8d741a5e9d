"""How a path becomes a format, and what a user is told where it does not."""

from pathlib import Path

import pandas as pd
import pytest
from tests.data.splicing.written import counted, nac, starsolo, velocyto

from lucidvi.data import read_splicing
from lucidvi.data.splicing import FORMATS, Format, Layer, Molecules
from lucidvi.errors import DataError, FileError


def test_missing_path(tmp_path: Path):
    path = tmp_path / "sample.loom"
    with pytest.raises(FileError, match="which does not exist") as error:
        read_splicing(path)
    assert f"`path` is {str(path)!r}" in str(error.value)
    for row in FORMATS.values():
        assert row.paths in error.value.remedy


def test_folder_without_any(tmp_path: Path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(FileError, match=r"a folder with 'readme.txt': there are no spliced"):
        read_splicing(tmp_path)


def test_file_of_another_kind(tmp_path: Path):
    (tmp_path / "counts.csv").touch()
    with pytest.raises(FileError, match="a file: there are no spliced"):
        read_splicing(tmp_path / "counts.csv")


@pytest.mark.parametrize("format", ["starsolo", "loom"])
def test_files_of_another_format(format: str, tmp_path: Path):
    with pytest.raises(FileError, match=f"counts of the format '{format}'") as error:
        read_splicing(nac(tmp_path, counted()), format)
    assert error.value.remedy == f"Give what the tool wrote: {FORMATS[format].paths}."


def test_unknown_format(tmp_path: Path):
    with pytest.raises(DataError, match="did you mean format='starsolo'"):
        read_splicing(tmp_path, format="STARsolo")


def test_unknown_place_of_ambiguous_molecules(tmp_path: Path):
    with pytest.raises(DataError, match="'spliced', 'unspliced', 'apart'"):
        read_splicing(tmp_path, ambiguous="both")


def test_folder_of_two_tools(tmp_path: Path):
    counts = counted()
    nac(tmp_path / "counts_unfiltered", counts)
    starsolo(tmp_path / "Solo.out" / "Velocyto" / "raw", counts)
    with pytest.raises(DataError, match=r"counts of 'kb' .* and 'starsolo'") as error:
        read_splicing(tmp_path)
    assert error.value.remedy == "Say which: format='kb'"
    assert read_splicing(tmp_path, "kb").layers["spliced"].sum() == (
        counts["spliced"].sum() + counts["ambiguous"].sum()
    )


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    velocyto(tmp_path / "sample.loom", counted())
    assert read_splicing("~/sample.loom").n_obs == 6


def test_a_new_format_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def read(path: Path) -> Molecules:
        table = pd.read_csv(path, index_col=["kind", "cell"])
        return Molecules(
            layers={
                kind: Layer(path.name, table.loc[kind].to_numpy())
                for kind in table.index.levels[0]
            },
            cells=pd.DataFrame(index=table.index.levels[1]),
            genes=pd.DataFrame(index=table.columns),
            place_of_cells=path.name,
            place_of_genes=path.name,
        )

    row = Format("a table", lambda path: path if path.suffix == ".csv" else None, read)
    monkeypatch.setitem(FORMATS, "table", row)
    path = tmp_path / "counts.csv"
    path.write_text(
        "kind,cell,g,h\nspliced,a,1,2\nspliced,b,0,3\nunspliced,a,4,0\nunspliced,b,0,5\n"
    )
    adata = read_splicing(path)
    assert adata.layers["unspliced"].toarray().tolist() == [[4, 0], [0, 5]]
    assert list(adata.var_names) == ["g", "h"]
