"""Text encoders: turn the texts of organs into vectors once, when a prior is built.

Nothing else in medfs imports CLIP or transformers packages; training and inference read the finished prior.
"""

from medfs.text.encoders.base import TextEncoder as TextEncoder
from medfs.text.encoders.base import encode_texts as encode_texts
from medfs.text.encoders.loading import load_encoder as load_encoder
