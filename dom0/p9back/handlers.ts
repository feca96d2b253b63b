// What each message does. Results and error numbers are those of QEMU's server (hw/9pfs/9p.c) with security_model=none, against which Linux's
// v9fs is used; where it differs, a comment says so.
import { ATTRIBUTE_HANDLERS } from './handlers-attributes.ts';
import { FILE_HANDLERS } from './handlers-files.ts';
import { TREE_HANDLERS } from './handlers-tree.ts';
import type { MessageName } from './protocol.ts';
import type { P9Session } from './session.ts';
import type { MessageReader, MessageWriter } from './wire.ts';

/** Reads the rest of the request, acts, writes the rest of the reply. Throws ShareError, after which nothing may have changed. */
export type Handler = (session: P9Session, request: MessageReader, reply: MessageWriter) => void;

export const HANDLERS: Readonly<Record<MessageName, Handler>> = { ...TREE_HANDLERS, ...FILE_HANDLERS, ...ATTRIBUTE_HANDLERS };
