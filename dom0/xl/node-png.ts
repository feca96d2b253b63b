// Screenshots under Node.
import { deflateSync } from 'node:zlib';
import { encodePng, type Picture } from '../fbback/index.ts';

export const pngOf = (picture: Picture): Uint8Array => encodePng(picture, (bytes) => new Uint8Array(deflateSync(bytes)));
