"""The configurations for stock TensorFlow Serving, by its own protos."""

import re

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tests import conftest

FOLDER = conftest.ROOT / "tools" / "deployment"


def test_the_model_config_names_the_model():
    text = (FOLDER / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("nst", "/models/nst", "tensorflow")


def test_the_monitoring_config_turns_it_on():
    # The package of the protos leaves this one out.
    text = re.sub(r"#.*", "", (FOLDER / "monitoring.config").read_text())
    path = "/monitoring/prometheus/metrics"
    assert text.split() == f'prometheus_config {{ enable: true path: "{path}" }}'.split()


def test_the_compose_file_uses_what_lies_beside_it():
    text = (FOLDER / "compose.yaml").read_text()
    assert "--enable_batching\n" not in text
    named = set(re.findall(r"/config/(\S+)", text)) | set(re.findall(r"- \./(\S+?):", text))
    assert {"models.config", "monitoring.config", "nginx.conf"} <= named
    for name in named:
        assert (FOLDER / name).exists()
