"""An MLServer runtime that answers each input with itself, named `y`: what came over the wire is what goes back."""

from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput


class Identity(MLModel):
    async def predict(self, payload):
        taken = payload.inputs[0]
        given = ResponseOutput(name="y", datatype=taken.datatype, shape=taken.shape, data=taken.data)
        return InferenceResponse(model_name=self.name, outputs=[given])
