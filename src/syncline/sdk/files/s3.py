"""The object store over a bucket of S3, or of a service that speaks its protocol."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.s3_client import S3Access, s3_client
from syncline.sdk.files.s3_errors import s3_error
from syncline.sdk.files.store import ObjectInfo, PendingUpload, StagedObject

__all__ = ["S3Store", "S3Upload"]

#: All parts but the last have this size (R2 wants them equal): S3's limit of 10,000 parts gives files of 80 GB.
_PART_BYTES = 8 << 20
#: Parts of one store on their way at once, each in memory: 24 MiB. One connection carries some 50 to 100 MB/s.
_PARTS_IN_FLIGHT = 3
#: Keys per DeleteObjects, as S3 has it.
_DELETE_BATCH = 1000
#: Least bytes fetched when a reader goes on where it stopped.
_READ_AHEAD = 8 << 20
_CONFLICT_ATTEMPTS = 5
#: Objects deleted at once where they go one by one.
_DELETERS = 8
#: Begins the upload of a :class:`StagedObject` that is an object below the stage; ids of S3's uploads have no colon.
_READABLE = "object:"
#: Between the random beginning of such an object's name and the name that it will have.
_MARK = "~"


class S3Store:
    """Objects below ``prefix`` (empty, or with a slash at its end). ``encryption``: (KMS or AES256, key ARN or
    None)."""

    def __init__(self, access: S3Access, prefix: str = "", *, encryption: tuple[str, str | None] | None = None) -> None:
        self.bucket, self.prefix = access.bucket, prefix
        self._access = access
        self._encryption = encryption
        self._parts: ThreadPoolExecutor | None = None
        self._in_flight = threading.BoundedSemaphore(_PARTS_IN_FLIGHT)

    @property
    def client(self) -> Any:
        """The boto3 client; errors of calls made with it go through :meth:`told`."""
        return s3_client(self._access)

    @property
    def key_arn(self) -> str | None:
        return self._encryption[1] if self._encryption else None

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def url_of(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    @contextlib.contextmanager
    def told(self, operation: str) -> Iterator[None]:
        """Within, errors of boto3 become ours; ``operation`` is S3's name of the call."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise s3_error(
                error,
                operation=operation,
                bucket=self.bucket,
                prefix=self.prefix,
                endpoint=self.client.meta.endpoint_url,
                key_arn=self.key_arn,
            ) from error

    @property
    def write_options(self) -> dict[str, Any]:
        """What every request that makes an object carries: its encryption."""
        if self._encryption is None:
            return {}
        kind, key = self._encryption
        if kind == "AES256":
            return {"ServerSideEncryption": "AES256"}
        options: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "BucketKeyEnabled": True}
        return {**options, "SSEKMSKeyId": key} if key else options

    def get(self, key: str) -> bytes | None:
        with self.told("GetObject"):
            try:
                body: bytes = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()
            except self.client.exceptions.NoSuchKey:
                return None
        return body

    def open_input(self, key: str) -> pa.NativeFile:
        info = self.head(key)
        if info is None:
            raise SynclineError(
                ErrorKind.DATA, f"{self.url_of(key)} is gone", hint="something else removed it", where={"key": key}
            )
        return pa.PythonFile(_Ranges(self, info), mode="r")

    def read_range(self, info: ObjectInfo, start: int, size: int) -> bytes:
        """``size`` bytes of an object from ``start``; ``data`` when it has changed since ``info`` was taken."""
        from botocore.exceptions import ClientError

        with self.told("GetObject"):
            try:
                answer = self.client.get_object(
                    Bucket=self.bucket,
                    Key=self.prefix + info.key,
                    Range=f"bytes={start}-{start + size - 1}",
                    IfMatch=info.etag,
                )
                body: bytes = answer["Body"].read()
            except ClientError as error:
                if _code(error) in ("PreconditionFailed", "412", "NoSuchKey"):
                    raise SynclineError(
                        ErrorKind.TRANSIENT,
                        f"{self.url_of(info.key)} changed while it was read",
                        hint="it is read again",
                        where={"key": info.key},
                    ) from error
                raise
        return body

    def put(self, key: str, data: bytes) -> None:
        with self.told("PutObject"):
            self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, **self.write_options)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        for attempt in range(_CONFLICT_ATTEMPTS):
            with self.told("PutObject"):
                try:
                    self.client.put_object(
                        Bucket=self.bucket, Key=self.prefix + key, Body=data, IfNoneMatch="*", **self.write_options
                    )
                except ClientError as error:
                    if _code(error) in ("PreconditionFailed", "412"):
                        return False
                    # Another put of this key is under way and one of the two will win: ask again.
                    if _code(error) == "ConditionalRequestConflict" and attempt + 1 < _CONFLICT_ATTEMPTS:
                        continue
                    raise
                return True
        raise AssertionError("the last attempt returns or raises")

    def head(self, key: str) -> ObjectInfo | None:
        from botocore.exceptions import ClientError

        with self.told("HeadObject"):
            try:
                found = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            except ClientError as error:
                if _code(error) in ("404", "NoSuchKey", "NotFound"):
                    return None
                raise
        return ObjectInfo(
            key=key, size=found["ContentLength"], modified=found["LastModified"], etag=found.get("ETag", "")
        )

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        options = {"StartAfter": self.prefix + start_after} if start_after else {}
        with self.told("ListObjectsV2"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix, **options
            )
            for page in pages:
                for each in page.get("Contents", ()):
                    yield ObjectInfo(
                        key=each["Key"][len(self.prefix) :],
                        size=each["Size"],
                        modified=each["LastModified"],
                        etag=each.get("ETag", ""),
                    )

    def delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETE_BATCH):
            batch = keys[start : start + _DELETE_BATCH]
            if len(batch) == 1 or not self._delete_together(batch):
                with ThreadPoolExecutor(min(_DELETERS, len(batch)), thread_name_prefix="s3 delete") as pool:
                    for _ in pool.map(self._delete_one, batch):
                        pass

    def _delete_together(self, keys: Sequence[str]) -> bool:
        """One request for all. False when the server does not take it so: some services lack it, and some ask for a
        right on the whole bucket."""
        from botocore.exceptions import ClientError

        objects = [{"Key": self.prefix + key} for key in keys]
        with self.told("DeleteObjects"):
            try:
                answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (400, 403, 405, 501):
                    return False
                raise
            if failed := answer.get("Errors"):
                if all(each.get("Code") == "AccessDenied" for each in failed):
                    return False
                raise _as_error(failed[0], "DeleteObjects")
        return True

    def _delete_one(self, key: str) -> None:
        with self.told("DeleteObject"):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def copy(self, source: str, target: str) -> None:
        """At the server; in parts where the object is too big for one request."""
        with self.told("CopyObject"):
            self.client.copy(
                {"Bucket": self.bucket, "Key": self.prefix + source},
                self.bucket,
                self.prefix + target,
                ExtraArgs=self.write_options,
            )

    def upload(self, key: str, *, stage: str, readable: bool = False) -> S3Upload:
        if not readable:
            return S3Upload(self, key)
        return _ReadableUpload(self, key, f"{stage}{secrets.token_hex(4)}{_MARK}{key.rpartition('/')[2]}")

    def open_staged(self, staged: StagedObject) -> pa.NativeFile | None:
        if not staged.upload.startswith(_READABLE):
            return None  # parts of a multipart upload are no object yet
        return self.open_input(staged.upload.removeprefix(_READABLE))

    def complete(self, staged: StagedObject) -> None:
        if not staged.upload.startswith(_READABLE):
            self.complete_upload(staged)
            return
        source = staged.upload.removeprefix(_READABLE)
        # The copy is one act; only once it stands its source goes. Whoever finds the source gone, finds the copy.
        if self.head(source) is not None:
            try:
                self.copy(source, staged.key)
            except SynclineError:
                if self.head(source) is not None:  # else another that rolls forward was faster
                    raise
            else:
                self.delete([source])
                return
        info = self.head(staged.key)
        if info is None or info.size != staged.size:
            raise SynclineError(
                ErrorKind.DATA,
                f"the staged object {self.url_of(source)} is gone and {self.url_of(staged.key)} does not hold it",
                hint="a bucket rule that expires objects below _syncline/, or somebody, removed it; see the docs on "
                "lost stages",
                where={"key": staged.key},
            )

    def complete_upload(self, staged: StagedObject) -> None:
        """Make the parts of a multipart upload an object."""
        from botocore.exceptions import ClientError

        parts = [{"PartNumber": i, "ETag": etag} for i, etag in enumerate(staged.parts, 1)]
        with self.told("CompleteMultipartUpload"):
            try:
                self.client.complete_multipart_upload(
                    Bucket=self.bucket,
                    Key=self.prefix + staged.key,
                    UploadId=staged.upload,
                    MultipartUpload={"Parts": parts},
                )
            except ClientError as error:
                # Completed before, by us (the answer was lost) or by another that rolled forward; or aborted.
                info = self.head(staged.key)
                if info is None or info.size != staged.size:
                    if _code(error) not in ("NoSuchUpload", "404"):
                        raise
                    raise SynclineError(
                        ErrorKind.DATA,
                        f"the multipart upload of {self.url_of(staged.key)} is gone and the key does not hold it",
                        hint="a bucket rule that aborts multipart uploads, or somebody, removed it; see the docs on "
                        "lost stages",
                        where={"key": staged.key},
                    ) from error

    def uploads(self, prefix: str, *, stage: str) -> Iterator[PendingUpload]:
        with self.told("ListMultipartUploads"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for each in page.get("Uploads", ()):
                    key = each["Key"]
                    if key.startswith(self.prefix + prefix):
                        yield PendingUpload(key=key[len(self.prefix) :], upload=each["UploadId"])
        for info in self.list(stage):
            _, mark, name = info.key.rpartition("/")[2].partition(_MARK)
            if mark:
                yield PendingUpload(key=prefix + name, upload=_READABLE + info.key)

    def abort(self, uploads: Sequence[PendingUpload]) -> None:
        self.delete([u.upload.removeprefix(_READABLE) for u in uploads if u.upload.startswith(_READABLE)])
        for each in uploads:
            if each.upload.startswith(_READABLE):
                continue
            with self.told("AbortMultipartUpload"), contextlib.suppress(self.client.exceptions.NoSuchUpload):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=self.prefix + each.key, UploadId=each.upload)

    def tidy(self) -> None:
        """Nothing: a put in S3 leaves an object or nothing."""

    def close(self) -> None:
        if self._parts is not None:
            self._parts.shutdown(cancel_futures=True)
            self._parts = None

    def send_part(self, upload: PendingUpload, number: int, data: bytes) -> Future[str]:
        """Send one part in a thread; waits while too many are on their way. The result is its ETag."""
        if self._parts is None:
            self._parts = ThreadPoolExecutor(_PARTS_IN_FLIGHT, thread_name_prefix="s3 part")
        self._in_flight.acquire()
        try:
            sent = self._parts.submit(self._send, upload, number, data)
        except RuntimeError:
            self._in_flight.release()
            raise
        sent.add_done_callback(lambda _: self._in_flight.release())
        return sent

    def _send(self, upload: PendingUpload, number: int, data: bytes) -> str:
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        with self.told("UploadPart"):
            answer = self.client.upload_part(
                Bucket=self.bucket,
                Key=self.prefix + upload.key,
                UploadId=upload.upload,
                PartNumber=number,
                Body=data,
                ContentMD5=digest,
            )
        return str(answer["ETag"])


class S3Upload:
    """A multipart upload, sent in parts while it is being written."""

    def __init__(self, store: S3Store, key: str) -> None:
        self.key = key
        self._store = store
        with store.told("CreateMultipartUpload"):
            answer = store.client.create_multipart_upload(
                Bucket=store.bucket, Key=store.prefix + key, **store.write_options
            )
        self._pending = PendingUpload(key=key, upload=answer["UploadId"])
        self._held = bytearray()
        self._size = 0
        self._sent: list[Future[str]] = []
        self._ended = False
        self.sink = pa.PythonFile(_Sink(self), mode="w")

    def tell(self) -> int:
        return self._size

    def take(self, data: Any) -> None:
        """Bytes from the sink."""
        self._held += data
        self._size += len(data)
        while len(self._held) >= _PART_BYTES:
            with memoryview(self._held) as view:
                part = bytes(view[:_PART_BYTES])
            del self._held[:_PART_BYTES]
            self._send(part)

    def _send(self, part: bytes) -> None:
        for sent in self._sent:
            if sent.done():
                sent.result()  # a part that failed ends the upload now, not at its end
        self._sent.append(self._store.send_part(self._pending, len(self._sent) + 1, part))

    def finish(self) -> StagedObject:
        if not self.sink.closed:
            self.sink.close()
        if self._held or not self._sent:
            self._send(bytes(self._held))
            self._held = bytearray()
        parts = tuple(sent.result() for sent in self._sent)
        self._ended = True
        return StagedObject(key=self.key, upload=self._pending.upload, size=self._size, parts=parts)

    def abort(self) -> None:
        self._held = bytearray()
        if self._ended:
            return
        self._ended = True
        for sent in self._sent:
            sent.cancel()
        for sent in self._sent:  # a part that arrives after the abort would stay, and cost
            if not sent.cancelled():
                sent.exception()
        # What cannot be aborted now (no network) the next attempt finds and aborts.
        with contextlib.suppress(SynclineError):
            self._store.abort([self._pending])


class _ReadableUpload(S3Upload):
    """One that is an object of its own below the stage once it is finished, to be read, and copied to its key later."""

    def __init__(self, store: S3Store, key: str, staged_at: str) -> None:
        super().__init__(store, staged_at)
        self._final = key

    def finish(self) -> StagedObject:
        staged = super().finish()
        self._store.complete_upload(staged)
        return StagedObject(key=self._final, upload=_READABLE + staged.key, size=staged.size)


class _Sink(io.RawIOBase):
    """What Arrow writes into. Closing it ends nothing: the upload is finished or aborted by its owner."""

    def __init__(self, upload: S3Upload) -> None:
        self._upload = upload

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._upload.take(data)
        return len(data)


class _Ranges(io.RawIOBase):
    """An object as a file with random access. Reading on fetches ahead; reading elsewhere fetches just that."""

    def __init__(self, store: S3Store, info: ObjectInfo) -> None:
        self._store, self._info = store, info
        self._at = 0
        self._block = b""
        self._block_at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def size(self) -> int:
        return self._info.size

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._info.size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._info.size if size < 0 else min(self._at + size, self._info.size)
        if end <= self._at:
            return b""
        inside = self._at - self._block_at
        have = self._block[inside : inside + end - self._at] if 0 <= inside < len(self._block) else b""
        if len(have) < end - self._at:
            start = self._at + len(have)
            goes_on = start == self._block_at + len(self._block)
            want = max(end - start, _READ_AHEAD) if goes_on else end - start
            self._block = self._store.read_range(self._info, start, min(want, self._info.size - start))
            self._block_at = start
            have += self._block[: end - start]
        self._at += len(have)
        return have

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _as_error(item: dict[str, Any], operation: str) -> Exception:
    from botocore.exceptions import ClientError

    made: Exception = ClientError(
        {"Error": {"Code": item.get("Code", ""), "Message": item.get("Message", "")}, "ResponseMetadata": {}}, operation
    )
    return made
