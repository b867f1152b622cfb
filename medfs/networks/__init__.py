"""Networks: building blocks that return features or logits and know nothing of how they are trained."""

from medfs.networks.block_features import ResNetBlocksEncoder as ResNetBlocksEncoder
from medfs.networks.block_features import ResNetStagesEncoder as ResNetStagesEncoder
from medfs.networks.cube_location import CubeLocationClassifier as CubeLocationClassifier
from medfs.networks.deep_stem import DeepStemEncoder as DeepStemEncoder
from medfs.networks.encoders import ResNetEncoder as ResNetEncoder
from medfs.networks.initialisation import initialise_from_text as initialise_from_text
from medfs.networks.initialisation import parameter_groups as parameter_groups
from medfs.networks.published_tak import load_published_tak as load_published_tak
from medfs.networks.published_tak import tak_parameter_name as tak_parameter_name
from medfs.networks.text_head import ClassVectors as ClassVectors
from medfs.networks.text_head import GlobalContext as GlobalContext
from medfs.networks.text_head import TextConditionedHead as TextConditionedHead
from medfs.networks.text_head import TextFusion as TextFusion
from medfs.networks.text_vnet import TextVNet as TextVNet
from medfs.networks.text_vnet import deployed_vnet as deployed_vnet
from medfs.networks.vgg import VGG16Encoder as VGG16Encoder
from medfs.networks.vnet import PlainVNet as PlainVNet
from medfs.networks.vnet import VNet as VNet
