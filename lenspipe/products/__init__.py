"""The files that a run leaves: their schema, readers and writers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "candidates": ["page_numbers", "page_order", "read_candidates", "read_cuts"],
        "checks": ["describe_checks", "GREEN", "not_measured", "RED", "result"],
        "chunks": ["try_bricks"],
        "cutouts": [
            "native_array",
            "read_catalog",
            "read_cutouts",
            "read_flags",
            "read_header",
            "write_cutouts",
        ],
        "files": ["read_json", "require", "write_json"],
        "grades": ["add_grades", "grades_of", "read_grades"],
        "manifests": [
            "failed_entries",
            "failure_in",
            "read_manifest",
            "read_manifests",
            "update_manifest",
            "write_manifest",
        ],
        "models": [
            "group_rows",
            "random_nonlenses",
            "read_held_out",
            "read_training",
            "training_splits",
            "TRAINING_KEYS",
        ],
        "outputs": ["outputs_document"],
        "parts": ["open_parts"],
        "plan": ["bricks_of_chunk", "find_brick", "Plan", "read_plan"],
        "provenance": ["write_basis"],
        "record_files": ["check_shards", "measure", "VERSION", "write_file"],
        "records": ["dataset", "IDENTIFIERS", "serialise_examples", "table_of", "write_records"],
        "sample": ["ids_in_all_versions", "read_by_id", "read_images", "sample_version", "SPLITS"],
        "scores": ["Cuts", "iterate_scores"],
        "tables": [
            "add_audits",
            "brick_table",
            "chunks_of",
            "empty_parent",
            "make_audit",
            "parent_columns",
            "read_table",
            "write_table",
        ],
        "truth": [
            "held_out_bricks",
            "QUOTED_ARC_SNR",
            "QUOTED_THETA_E_ARCSEC",
            "read_rows_of_bricks",
            "read_scores_with_truth",
        ],
        "verify": ["compare_run"],
    },
)
