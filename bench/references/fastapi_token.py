"""A FastAPI route that checks a bearer token with PyJWT and answers its claims as JSON."""

from __future__ import annotations

import os
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

app = FastAPI()
bearer = HTTPBearer()
SECRET = os.environ["JWT_SECRET_KEY"]


async def claims_of(given: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> dict[str, Any]:
    try:
        return jwt.decode(given.credentials, SECRET, algorithms=["HS256"], audience="keepsake", issuer="keepsake")
    except jwt.PyJWTError as error:
        raise HTTPException(401, "The token is not valid") from error


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.get("/api/auth/verify")
async def verify(claims: Annotated[dict[str, Any], Depends(claims_of)]) -> dict[str, Any]:
    return claims
