"""The files that a run leaves: their columns, readers and writers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bricks": ["brick_table", "chunks_of"],
        "candidates": ["page_numbers", "page_order", "read_candidates", "read_cuts"],
        "checks": ["GREEN", "not_measured", "RED", "result", "say_checks"],
        "chunks": ["try_bricks"],
        "cutouts": ["native_array", "read_cutouts"],
        "known_lenses": ["read_known"],
        "manifests": [
            "failed_entries",
            "failure_in",
            "read_manifest",
            "update_manifest",
            "write_manifest",
        ],
        "models": ["learnt_splits", "read_notes", "TRAINING_KEYS"],
        "parts": ["open_parts"],
        "plan": ["bricks_of_chunk", "find_brick", "Plan", "read_plan"],
        "predictions": ["group_rows", "random_nonlenses", "read_held_out"],
        "provenance": ["write_basis"],
        "record_files": ["check_shards", "measure", "VERSION", "write_file"],
        "records": ["dataset", "IDENTIFIERS", "serialise_examples", "table_of", "write_records"],
        "sample": ["read_by_id", "read_images", "sample_version", "SPLITS", "used_before"],
        "scores": ["Cuts", "read_chunks"],
        "truth": [
            "held_out_bricks",
            "read_rows",
            "VISIBLE_ARC_SNR",
            "VISIBLE_THETA_E_ARCSEC",
            "with_truth",
        ],
    },
)
