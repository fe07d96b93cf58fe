"""Stage scores: the network's probability for every galaxy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "records": ["records_of_chunk"],
        "score": [
            "load_model_for_run",
            "load_model",
            "predict",
            "score_brick",
            "score_chunk",
            "score_images",
            "write_scores",
        ],
        "scorer": ["Scorer"],
        "splits": ["score_split"],
        "user_cutouts": ["score_stack"],
    },
)
