// ioemu, the device model of HVM domains.
import type { Domid } from '@ringworld/abi';
import { DeviceModel, type DeviceModelConfig, type DeviceModelHost, type DeviceModelServices } from './device-model.ts';

export * from './board.ts';
export {
  DeviceModel,
  type DeviceModelConfig,
  type DeviceModelDisk,
  type DeviceModelHost,
  type DeviceModelNic,
  type DeviceModelServices,
} from './device-model.ts';
export { macBytes } from './nic-port.ts';

/**
 * Puts devices before a domain that is built and has not run yet: an ioreq server with all their ranges. To be called before the firmware is set
 * up (toolstack/hvm-loader.ts programs the devices' BARs) and before the domain is unpaused; close() it when the domain has been destroyed.
 * Throws HypercallError.
 */
export const startDeviceModel = (
  dom0: DeviceModelHost,
  domid: Domid,
  config: DeviceModelConfig,
  services: DeviceModelServices,
): DeviceModel => new DeviceModel(dom0, domid, config, services);
