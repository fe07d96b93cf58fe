"""Files of what a step is made from."""

from lenspipe.products.provenance import write_basis


def test_a_basis_tells_settings_and_files_apart(tmp_path):
    listed, path = tmp_path / "list.csv", tmp_path / "basis" / "sample.json"

    def written(content, **settings):
        listed.write_text(content)
        write_basis(path, settings, [listed])
        return path.read_bytes()

    first = written("ra,dec", seed=1, bands=["g", "r"])
    assert written("ra,dec", bands=["g", "r"], seed=1) == first
    assert written("ra,dec", seed=2, bands=["g", "r"]) != first
    assert written("dec,ra", seed=1, bands=["g", "r"]) != first
